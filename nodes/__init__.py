"""The ComfyUI side: sockets, words and the host's services. Numbers are computed in birefnet/."""
