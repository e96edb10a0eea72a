"""Pictures: files, colours, resizing, boxes, optical flow."""
