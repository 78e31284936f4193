"""What the scenarios of `scripts/chaos` share: a server that may be killed, clients that insist, images, and a look at what is left."""
