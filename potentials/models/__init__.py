"""The models that come with the package: a checkpoint each, and what people should know of it."""
