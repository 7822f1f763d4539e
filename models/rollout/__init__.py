"""From a verdict to full service: how far a challenger goes by itself, and what ends it."""
