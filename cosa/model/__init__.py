"""Every file format as frozen, validated types: parsing apart from input and output."""
