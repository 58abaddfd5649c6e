"""The controlled comparison of upsamplers: what is compared, what is measured, how it is shown."""
