"""What services over HTTP share: budgets of requests, connections that end in time, and images checked first."""
