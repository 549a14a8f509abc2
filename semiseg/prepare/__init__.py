"""Making data ready: official downloads, published lists, synthetic images, a check of everything."""
