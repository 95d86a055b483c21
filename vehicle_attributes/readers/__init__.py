"""Readers of vehicle data sets, each in the layout in which its authors hand it out."""
