"""One HTML file about files that a model judged: what is odd, why, how many alarms there would be, what is doubtful."""
