"""How good labels and annotators are: agreement, label errors, pseudo-labels."""
