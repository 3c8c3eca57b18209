"""One look at what is inside a space, as plain numbers and arrays: all that the checks know of the engine's attributes."""
