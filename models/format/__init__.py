"""The model directory: schema, layout, validation, reading and writing. The only room that the service imports."""
