"""``semiseg doctor``: what this machine has, and whether every operator and method does on it what it does on a CPU."""
