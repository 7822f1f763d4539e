"""What more labels are worth: the learning curve, its forecast and the advice."""
