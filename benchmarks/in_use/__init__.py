"""A trained model in use: properties of solids beside density functional theory."""
