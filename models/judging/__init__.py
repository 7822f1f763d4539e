"""Whether a challenger is better than the champion."""
