"""What the projects share: data sets, layers, losses, metrics, training, reports. Imports no project."""
