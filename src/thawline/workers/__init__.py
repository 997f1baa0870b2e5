"""Where jobs are done: in processes of this machine, or on a cluster; standard library, torch's facts, and Ray."""
