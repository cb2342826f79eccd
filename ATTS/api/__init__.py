"""The pair behind the OpenAI API: requests in, the loop's answers out."""
