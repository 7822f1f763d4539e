"""Model versions, releases, the model store and the bento."""
