"""Keys and signatures, a module for each family of chains. They are imported when they are needed."""
