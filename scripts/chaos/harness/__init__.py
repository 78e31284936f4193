"""What the scenarios of `scripts/chaos` share: a server that may be killed, clients that retry, images, and checks of the data that remains."""
