"""From a checkpoint to a model directory: calibration, allocation, export."""
