"""What each variant can do, as measured: values, files, and which profile belongs to which model."""
