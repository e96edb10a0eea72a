"""ComfyUI's services and sockets, for every node: devices, memory, progress, messages, folders, schemas."""
