"""The proving ground: every strategy and its peers on twelve data sets, tuned with the same number of trainings."""
