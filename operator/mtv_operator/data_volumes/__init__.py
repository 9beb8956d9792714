"""DataVolumes where CDI is absent: claims that are filled from a URL, an image, a claim, an upload.

    DataVolume ─► claim, annotated with its source ─► worker pod that fills it ─► Succeeded
     data_volume            filling                     worker, upload_server

A claim annotated for uploads is filled without a DataVolume, too. `decide` of both is pure.
"""
