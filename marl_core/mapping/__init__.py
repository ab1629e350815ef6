"""What is known of the world: own measurements, the shared map, and the grid that plans are made on."""
