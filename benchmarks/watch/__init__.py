"""What the benchmarks of the watch share: images, their features, shifts, lives, and peers."""
