"""How each kind of file is laid out; `data.io` is the door."""
