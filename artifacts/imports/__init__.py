"""`vitrine import`: makes an artifact of a network that was trained elsewhere.

The artifact answers as the framework of the network does. `loading` reads the file, `inputs` puts
what the framework does to pixel values in front of the graph, `outputs` chooses the output, and
`endings` turns probabilities back into logits. `readers` reads the preprocessing from the files
that frameworks write, `questions` asks for what is missing, and `command` puts the parts together.
"""
