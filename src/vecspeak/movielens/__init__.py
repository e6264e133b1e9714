"""The paper's experiment on a MovieLens folder: ratings -> behavioural vectors, texts -> semantic vectors, models,
measures with controls, a report."""
