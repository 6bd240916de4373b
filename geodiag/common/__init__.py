"""What every package may use: text, files, stop signals, remote paths, projection families."""
