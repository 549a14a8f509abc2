"""What every part may use: errors, files, random generators, several devices."""
