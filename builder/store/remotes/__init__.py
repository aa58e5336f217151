"""Places to publish to and pull from: folders, bundles, buckets, web servers, registries."""
