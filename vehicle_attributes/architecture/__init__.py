"""The network and its gallery as a picture."""
