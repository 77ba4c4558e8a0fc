"""Remote access: who may do what, the only door (`lab.remote.gateway`), and whoever changes the queue behind it (`lab.remote.steward`)."""
