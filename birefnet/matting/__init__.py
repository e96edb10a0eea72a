"""Where pictures and the network meet: from photographs to mattes, their edges and their colours."""
