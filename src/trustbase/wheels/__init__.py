"""An offline folder: everything that installing and starting needs, with its hashes, its bill of materials and its licences."""
