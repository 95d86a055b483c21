"""Classes that did not exist when the network was trained (section 3.2): what the text argues, measured."""
