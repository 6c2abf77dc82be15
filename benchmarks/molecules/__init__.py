"""Whether molecules and crystals hold in molecular dynamics: bonds, temperature, distances between atoms."""
