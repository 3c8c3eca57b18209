"""The address space: mappings, exclusion, clients and what they hold, vCPUs, segments."""
