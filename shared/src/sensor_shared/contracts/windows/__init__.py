"""The last minutes of each device: how analytics keeps them, and the line through them."""
