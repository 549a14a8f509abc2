"""What is guessed of images of one's own, and the experiment that is written of it; ``semiseg new`` calls it."""
