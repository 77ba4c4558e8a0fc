"""Who may enter, what their role allows, and what is written down of it."""
