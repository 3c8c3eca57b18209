"""Host memory: the one big reservoir, the spans of frames it hands out, and the objects that are made of them."""
