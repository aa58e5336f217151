"""Actions: one step with its inputs as digests, its recipe, and the measurements that it reports."""
