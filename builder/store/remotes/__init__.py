"""Remote repositories: folders, bundles, buckets, web servers, registries."""
