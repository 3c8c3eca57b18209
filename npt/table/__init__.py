"""The four-level tree: level arrays that never move, and the page table made of them."""
