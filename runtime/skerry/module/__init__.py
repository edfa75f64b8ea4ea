"""What every module of ours needs in its container: workload API, log lines, figures."""
