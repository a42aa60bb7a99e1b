"""From one's own checkpoint to a model directory of few bits, by one command."""
