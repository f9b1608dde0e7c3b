"""The Container Network Interface (CNI 1.1.0): its requests and answers, the server, and the client."""
