"""The embedded home's scheduler: which node a pod runs on. Filters and scores are pure."""
